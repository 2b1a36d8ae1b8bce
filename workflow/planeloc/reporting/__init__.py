"""What the stages found, for people: verdicts in one file, quality values on a page, a summary for the terminal."""
