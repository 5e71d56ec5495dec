"""PLAN and DECIDE: pure rules, and what every process must agree on."""
