"""What makes the book: running chapters and building the site."""
