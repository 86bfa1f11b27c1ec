/** Whether a version as `0.8.5` is older than the least. */
export function isOlder(version: string, least: readonly number[]): boolean {
  const numbers = version.split('.').map(Number)
  for (const [index, floor] of least.entries()) {
    const number = numbers[index] ?? 0
    if (number !== floor) return number < floor
  }
  return false
}
