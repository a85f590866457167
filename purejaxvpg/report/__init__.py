"""What a person looks at: tables, plots and the page of a study."""
