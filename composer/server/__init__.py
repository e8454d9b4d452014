"""The server: read a request of OpenAI's API, call a job, answer."""
