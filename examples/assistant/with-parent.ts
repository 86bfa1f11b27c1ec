/** Ends a process with the one that started it, however that one ended. */
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
// To listen is no reason to live on.
process.channel?.unref()
