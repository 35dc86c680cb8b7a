"Bytes that are not trusted, and files that are written whole: knows no lesson."
