"""The application usdx-wexel."""
