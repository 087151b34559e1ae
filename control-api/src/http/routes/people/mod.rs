//! Users, tenants, members, invitations, and what they did (API §1.2).

pub(crate) mod audit_log;
pub(crate) mod blocked;
pub(crate) mod invitations;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod tenants;

use domain::{TenantId, UserId};

use crate::{
    audit,
    http::{State, actor::Actor, error::ApiError},
    people,
    scope::Role,
};

/// The actor inside the tenant of a path. It is the actor's own, or any for the platform's operator, whose visit is noted there.
async fn admit(state: &State, actor: &Actor, tenant: TenantId) -> Result<Actor, ApiError> {
    if tenant == actor.tenant {
        return Ok(actor.clone());
    }
    if !actor.is_platform() {
        return Err(ApiError::not_found());
    }
    let mut tx = state.app.store.begin().await?;
    people::tenants::get(&mut tx, &tenant.to_string()).await?.ok_or_else(ApiError::not_found)?;
    let visitor = actor.inside(tenant);
    audit::note(&mut tx, &visitor, "tenant.visit", "tenant", &tenant.to_string(), None).await?;
    tx.commit().await?;
    Ok(visitor)
}

/// As what an actor stands among members. A key that no user made is the operator's and counts as an admin.
fn rank(actor: &Actor) -> Role {
    if actor.is_platform() { Role::Owner } else { actor.role.unwrap_or(Role::Admin) }
}

/// Refuses power over a role above one's own, and giving it away.
fn within_rank(actor: &Actor, role: Role) -> Result<(), ApiError> {
    let own = rank(actor);
    if role >= own {
        return Ok(());
    }
    Err(ApiError::forbidden("role_too_high", format!("a member who is {own} has no power over the role {role}")))
}

impl State {
    /// What a user may do has changed: this node asks the store the next time, the others within five seconds.
    fn forget_user(&self, user: UserId) {
        self.auth.seen.forget_user(&user.to_string());
        self.keys.forget_maker(user);
    }

    /// What everybody in a tenant may do has changed.
    fn forget_tenant(&self, tenant: TenantId) {
        self.auth.seen.forget_tenant(tenant);
        self.keys.forget_tenant(tenant);
    }
}
