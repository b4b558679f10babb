"""What pages, reports and messages show: view models, words, figures, charts and the report file."""
