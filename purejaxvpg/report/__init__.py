"""What a person looks at: statistics over seeds, tables and plots."""
