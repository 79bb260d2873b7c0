"""Hours of constant load with faults now and then: memory must stay flat, and lag come back after each fault."""
