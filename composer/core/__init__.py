"""What every part of composer builds on: errors, ports, components, operators and backends."""
