import type { Decision } from '@remit/contract/events'
import { version } from '../kernel/version.ts'
import { eventKinds } from './events.ts'
import type { RecordEntry } from './query.ts'

/** A record with the names of whom it names. */
export interface NamedEntry extends RecordEntry {
  /** `user:anne` → Anne; only those that are known. */
  readonly names: Readonly<Record<string, string>>
}

// OCSF 1.6: API Activity, https://schema.ocsf.io/1.6.0/classes/api_activity
const apiActivity = 6_003
const activityIds = { create: 1, read: 2, update: 3, delete: 4, other: 99 } as const
const statusIds: Readonly<Record<Decision, number>> = { allowed: 1, denied: 2, error: 2, none: 0 }
const productName = 'Remit'

/** In the shape of OCSF's class API Activity. What it has no place for stands in `unmapped`. */
export function toOcsf(entry: NamedEntry): {
  readonly class_uid: number
  readonly [member: string]: unknown
} {
  const { title, activity, severity } = eventKinds[entry.event]
  const activityId = activityIds[activity]
  const user = (uid: string) => ({ uid, ...(entry.names[uid] !== undefined && { name: entry.names[uid] }) })
  return {
    category_uid: 6,
    class_uid: apiActivity,
    activity_id: activityId,
    ...(activity === 'other' && { activity_name: title }),
    type_uid: apiActivity * 100 + activityId,
    time: Date.parse(entry.time),
    severity_id: severityId(severity),
    status_id: statusIds[entry.decision],
    ...(entry.decision !== 'none' && { status_detail: entry.decision }),
    message: title,
    metadata: {
      version: '1.6.0',
      product: { name: productName, vendor_name: productName, version },
      uid: String(entry.seq),
      correlation_uid: entry.txn,
      ...(entry.trace_id !== null && { trace_uid: entry.trace_id }),
    },
    actor: { user: user(entry.subject), app_uid: entry.client },
    src_endpoint: { svc_name: entry.client },
    api: {
      operation: entry.event,
      request: { uid: entry.txn },
      ...(entry.tool !== null && { service: { name: entry.tool } }),
    },
    unmapped: {
      actors: entry.actors.map(user),
      decision: entry.decision,
      ...(entry.delegation !== null && { delegation: entry.delegation }),
      detail: entry.detail,
    },
  }
}

/** OCSF's 1 (informational) to 4 (high). */
const severityId = (severity: number): number =>
  severity <= 3 ? 1 : severity <= 5 ? 2 : severity <= 6 ? 3 : 4

/** One line of ArcSight's Common Event Format, version 0. */
export function toCef(entry: NamedEntry): string {
  const { title, severity } = eventKinds[entry.event]
  const header = ['CEF:0', productName, productName, version, entry.event, title, String(severity)]
  const extension: Readonly<Record<string, string | undefined>> = {
    rt: String(Date.parse(entry.time)),
    externalId: String(entry.seq),
    outcome: entry.decision,
    suser: entry.names[entry.subject] ?? entry.subject,
    suid: entry.subject,
    sourceServiceName: entry.client,
    cs1Label: 'actors',
    cs1: entry.actors.join(' '),
    cs2Label: 'txn',
    cs2: entry.txn,
    cs3Label: 'delegation',
    cs3: entry.delegation ?? undefined,
    cs4Label: 'trace',
    cs4: entry.trace_id ?? undefined,
    msg: JSON.stringify(entry.detail),
  }
  const pairs = Object.entries(extension).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [`${name}=${inExtension(value)}`],
  )
  return `${header.map(inHeader).join('|')}|${pairs.join(' ')}`
}

const inHeader = (value: string): string => value.replaceAll(/[\\|]/g, '\\$&').replaceAll(/[\r\n]/g, ' ')
/** A line break would begin another event. */
const inExtension = (value: string): string =>
  value.replaceAll(/[\\=]/g, '\\$&').replaceAll('\r', '\\r').replaceAll('\n', '\\n')
