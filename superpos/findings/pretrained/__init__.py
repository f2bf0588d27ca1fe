"""Networks that others trained and that people use: every layer read, trusted or refused, beside an untrained twin."""
