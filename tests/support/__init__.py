"""What the tests of every tier share: who runs them, what they need, and what they leave."""
