"""Read pictures: their headers, and their pixels."""
