-- The instant of this run: milliseconds, and microseconds, since 1970.
local micros = due_micros()
local now = math.floor(micros / 1000)
