"""Ray, the processes of this machine, and their memory."""
