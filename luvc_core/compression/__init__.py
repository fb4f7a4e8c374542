"""Which visual tokens are merged or pruned, and by which rule: settings, profiles, algorithms."""
