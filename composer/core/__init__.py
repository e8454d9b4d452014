"""What all of composer builds on (lowest level): errors, ports, components, operators, backends."""
