"""Pages for people: log-in, accounts and members. HTML that works without scripts."""
