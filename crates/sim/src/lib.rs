//! A simulated cell, its faults and its checkers. Never shipped.
