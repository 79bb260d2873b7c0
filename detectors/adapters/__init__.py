"""River and PyOD behind arrays; their state is rebuilt from plain arrays, never unpickled."""
