//! Offers and answers as literal text.
