"""What every bench uses: the runner, the clock, streams, memories."""
