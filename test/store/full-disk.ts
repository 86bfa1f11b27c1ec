// Loaded before a process of a test, and each of its threads: the disk has no room while a file named
// DISK_FULL exists.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const { DISK_FULL: file = '' } = process.env
const isFull = (): boolean => fs.existsSync(file)
const { writeSync } = fs
const { statfs } = fs.promises
fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  if (isFull() && args[0] > 2)
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', errno: -28 })
  return writeSync(...args)
}) as typeof writeSync
fs.promises.statfs = (async (...args: Parameters<typeof statfs>) => ({
  ...(await statfs(...args)),
  ...(isFull() && { bavail: 0 }),
})) as typeof statfs
syncBuiltinESMExports()
