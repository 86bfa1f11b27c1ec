const dayMs = 24 * 60 * 60 * 1000

/** The moment `duration` (`P14D`, whole days of 24 hours) after `now`, cut to the second. */
export function dateAfter(now: Date, duration: string): Date {
  const days = Number(/^P([1-9][0-9]{0,3})D$/.exec(duration)?.[1])
  if (Number.isNaN(days)) throw new RangeError(`not a period of whole days: ${duration}`)
  return new Date(Math.floor((now.getTime() + days * dayMs) / 1000) * 1000)
}

/** RFC 3339 in UTC without fractions, as conditions carry it. */
export const timestamp = (date: Date): string => date.toISOString().replace(/\.\d{3}Z$/, 'Z')

/** A full date, `2026-03-12`, that is in the calendar. */
export function isDate(value: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(value)) return false
  const date = new Date(`${value}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(value)
}
