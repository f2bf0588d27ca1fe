"""Can F be trusted? Readings held against worlds whose number of features is known, and against rows that have none."""
