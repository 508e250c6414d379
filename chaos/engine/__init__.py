"""The engine: reads scenarios, runs drills, judges them, and heals what they broke."""
