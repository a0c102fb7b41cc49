"""The layers around a recurrent one."""
