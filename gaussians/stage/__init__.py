"""What every command and library function is built from: arguments, errors, checks, atomic files, claims, processes."""
