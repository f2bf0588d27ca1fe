"""What stood here stands in test_measurement."""
