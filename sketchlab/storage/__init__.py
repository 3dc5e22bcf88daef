"""What lies on a disk: files that are whole or not there, one owner of a folder, what is kept for later."""
