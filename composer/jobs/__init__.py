"""What a user asks for, one function a file without printing; cli and server call these."""
