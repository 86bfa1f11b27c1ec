import { z } from 'zod'

const dateTime =
  /^(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00)$/
const firstMs = Date.parse('0001-01-01T00:00:00Z')
const endMs = Date.parse('+010000-01-01T00:00:00Z')

/**
 * Whether it is an RFC 3339 date-time, seconds left out or not, that JavaScript, Postgres and OpenFGA read
 * alike: a day of the calendar, the years 1 to 9999 in UTC too, at most 14 hours from it. Anything else would
 * be an error of ours, or a task that fails each time.
 */
export function isInstant(value: unknown): value is string {
  if (typeof value !== 'string') return false
  const [, day] = dateTime.exec(value) ?? []
  const ms = Date.parse(value)
  return day !== undefined && isDay(day) && ms >= firstMs && ms < endMs
}

/** The same, or one without a zone, which is UTC, or a day alone. */
export const isDate = (value: string): boolean => isInstant(value) || isInstant(`${value}Z`) || isDay(value)

/** Of the calendar: `Date.parse` takes 30 February. */
const isDay = (value: string): boolean =>
  /^\d{4}-\d{2}-\d{2}$/.test(value) &&
  value >= '0001' &&
  !Number.isNaN(Date.parse(value)) &&
  new Date(value).toISOString().startsWith(value)

/** A point in time, as whoever calls writes it. */
export const instant = z.iso
  .datetime({ offset: true })
  .refine(isInstant, 'must be a time of the years 1 to 9999, at most 14 hours from UTC')
