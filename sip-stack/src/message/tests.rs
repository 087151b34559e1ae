//! What the parser and the views make of odd but legal, and of illegal, messages.
