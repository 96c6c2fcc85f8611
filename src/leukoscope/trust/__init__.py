"""How far an answer can be trusted: calibration, prediction sets, novelty, decisions."""
