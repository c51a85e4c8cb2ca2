"""Values to JSON and back: the codec, what it refuses, arguments by their types, input schemas."""
