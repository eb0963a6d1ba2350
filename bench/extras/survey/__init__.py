"""What a folder of scans holds, before anything is trained."""
