// The front door.

export {}
