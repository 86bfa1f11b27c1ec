import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { z } from 'zod'
import { pluralize } from '../kernel/pluralize.ts'
import type { AdminClient } from './admin-client.ts'
import { typed } from './ids.ts'
import { printFacts } from './listing.ts'
import type { Terminal } from './terminal.ts'

interface SealCommandDeps {
  readonly admin: AdminClient
  readonly terminal: Terminal
}

type Row = Readonly<Record<string, unknown>>

const verifyForm = z.object({ findings: z.array(z.looseObject({})), found: z.int() })
const headsForm = z.object({ heads: z.array(z.looseObject({ seal: z.int() })) })

interface VerifyFlags {
  readonly against?: string
  readonly resume: boolean
  readonly json: boolean
}

/**
 * The commands of `audit` that only the machine may run: whether the record is whole, and what takes from it.
 */
export function addSealCommands(
  audit: Command,
  dependencies: SealCommandDeps,
  outcome: { ok: boolean },
): void {
  addVerify(audit, dependencies, outcome)
  addHeads(audit, dependencies)
  addErase(audit, dependencies)
}

function addVerify(audit: Command, { admin, terminal }: SealCommandDeps, outcome: { ok: boolean }): void {
  audit
    .command('verify')
    .description('Compares the whole record with its seals: what was edited, removed or swapped, and where.')
    .option('--against <file>', 'heads that were kept elsewhere (remit audit heads)')
    .option('--resume', 'only from the last of those heads on: what is before it was verified then', false)
    .option('--json', 'prints the answer as JSON', false)
    .action(async ({ against, resume, json }: VerifyFlags) => {
      if (resume && against === undefined)
        throw new Error('--resume goes on from a kept head: --against FILE.')
      const heads = against === undefined ? [] : chosen(await readFile(against, 'utf8'))
      const answer = await admin.run('audit_verify', { heads, resume })
      const { findings, found } = verifyForm.parse(answer)
      outcome.ok &&= found === 0
      if (json) return terminal.out(JSON.stringify(answer))
      const { findings: _, ...summary } = answer
      printFacts(terminal, summary, false)
      for (const finding of findings) terminal.out(findingLine(finding))
      terminal.say(found === 0 ? 'The record is whole.' : 'The record is NOT whole.')
    })
}

function addHeads(audit: Command, { admin, terminal }: SealCommandDeps): void {
  audit
    .command('heads')
    .description('Prints the heads of the seals, one line of JSON each, to be kept elsewhere.')
    .option('--after <seal>', 'only those after this seal', '0')
    .action(async ({ after }: { readonly after: string }) => {
      for (let afterSeal = Number(after); ; ) {
        const { heads } = headsForm.parse(await admin.run('audit_heads', { after: afterSeal }))
        for (const head of heads) terminal.out(JSON.stringify(head))
        const lastHead = heads.at(-1)
        if (lastHead === undefined) return
        afterSeal = lastHead.seal
      }
    })
}

function addErase(audit: Command, { admin, terminal }: SealCommandDeps): void {
  audit
    .command('erase <user>')
    .description('Takes a person out of the record for good: their key is destroyed, the seals stay whole.')
    .option('--yes', 'does it; without it nothing is done', false)
    .action(async (user: string, { yes: isConfirmed }: { readonly yes: boolean }) => {
      const subject = typed('user')(user)
      if (!isConfirmed) throw new Error(`This cannot be undone. To erase ${subject} from the record: --yes`)
      const { alias, records } = await admin.run('audit_erase', { subject })
      terminal.say(
        `${pluralize(Number(records), 'record says', 'records say')} ${String(alias)} from now on.`,
      )
    })
}

const chosenMax = 100

/** The last head holds all before it; others between tell from where on it differs. */
function chosen(text: string): unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  if (lines.length === 0) throw new Error('The file holds no heads.')
  const step = Math.max(1, Math.ceil(lines.length / (chosenMax - 1)))
  const thinned = lines.filter((_, index) => index % step === 0)
  const lastLine = lines.at(-1) ?? ''
  return [...thinned, ...(thinned.at(-1) === lastLine ? [] : [lastLine])].map((line, index) => {
    try {
      return JSON.parse(line) as unknown
    } catch {
      throw new Error(`Line ${index * step + 1} of the file is not JSON.`)
    }
  })
}

function findingLine({ kind, seal, record, other: otherRecord, detail }: Row): string {
  const clauses = [
    record === undefined ? undefined : `record ${String(record)}`,
    otherRecord === undefined ? undefined : `and record ${String(otherRecord)}`,
    seal === undefined ? undefined : `(seal ${String(seal)})`,
    detail === undefined ? undefined : `: ${String(detail)}`,
  ].filter((clause) => clause !== undefined)
  return `${String(kind).replaceAll('_', ' ')}: ${clauses.join(' ')}`
}
