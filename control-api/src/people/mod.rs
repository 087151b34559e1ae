//! Tenants, who belongs to them, and who is invited. Every change that could leave a tenant without an owner is made here.

pub(crate) mod end;
pub(crate) mod form;
pub(crate) mod invitations;
pub(crate) mod members;
pub(crate) mod tenants;

pub use end::Purge;
