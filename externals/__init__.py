"""Third-party perception models, each behind one small class."""
