// Filled in with the fake backend.
