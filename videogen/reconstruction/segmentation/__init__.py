"""Tell which object each pixel of the pictures shows: label pictures, 0 for none, else an object's number from 1."""
