-- For wrk: sends the requests of the file that is named by the first argument, one after another, over and over, and
-- prints what came of them as one line of JSON. The file holds each request as its length, a line feed and its bytes.

local requests = {}
local current = 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   while true do
      local length = file:read("*n")
      if length == nil then break end
      file:read(1)
      requests[#requests + 1] = file:read(length)
   end
   file:close()
end

function request()
   current = current % #requests + 1
   return requests[current]
end

function done(summary, latency, _)
   local errors = summary.errors
   print(string.format(
      '{"answers": %d, "refused": %d, "broken": %d, "microseconds": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
      summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
