"""Pictures of what a network does, and the arithmetic behind them."""
