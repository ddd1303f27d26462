"""What limits cost a request, and what fair queueing gives."""
