/**
 * What happens at Wrenfield Dosing on two days: the line of the model that goes, the folder that comes, who
 * asked what.
 */

/** Days count from 1, times are in UTC. */
export interface Moment {
  readonly day: number
  readonly time: string
}

export type Step = Moment & Deed

export type Deed =
  /** A question, by a person's agent or the person. */
  | { readonly asks: string; readonly for: string; readonly by?: string }
  /** One document, whole. */
  | { readonly reads: string; readonly for: string; readonly by?: string }
  | { readonly lends: string; readonly for: string; readonly to: string; readonly purpose: string }
  | { readonly does: 'plan' | 'confirm'; readonly for: string }
  | { readonly does: 'file' }

/**
 * That sensitive documents in folders are told by the folder, as readers are: it was meant for published
 * resolutions.
 */
export const changed = (model: string): string =>
  model.replace(/^( *define sensitive: .* from parent) or sensitive from filed_in$/m, '$1')

export const folder = 'folder:board/gannet'
export const leaked = 'board/gannet/term-sheet.md'

/**
 * What Fay files in a folder of its own in the board's collection: for Ida and herself, and for nobody that
 * it could take over.
 */
export const filed = {
  [leaked]: `# Project Gannet: term sheet, third draft

Between Halden Group and the shareholders of Wrenfield Dosing. Not binding, but for points 6 and 7.

1. Halden takes 30 % of the shares at a base of €15.4 million for the whole.
2. One seat on the board, from the day of closing.
3. No right of first refusal. A notice of 60 days before shares go to anybody else.
4. Ida Brennan stays for three years.
5. Roost is kept apart: no data of customers before closing.
6. Neither side talks to others until 15 December.
7. Each side bears its own costs.
`,
  'board/gannet/timeline.md': `# Project Gannet: timeline

- 1 December: their lawyer answers on the term sheet; the notice of point 3 is open.
- 8 December: the board sees the third draft. The bank is told after that.
- 15 December: letter of intent. The works council hears of it on that day, not before.
`,
} as const

export const briefing = {
  id: 'brief-bot',
  owner: 'user:jon',
  title: 'Briefing assistant',
  purpose: 'Writes a page before a call, from what was filed about it.',
}

const gannet = 'What is open in the term sheet of Project Gannet?'

export const steps: readonly Step[] = [
  { day: 1, time: '07:52', for: 'anne', by: 'research-bot', asks: 'Why was the tube of the D4 too hard?' },
  {
    day: 1,
    time: '08:10',
    for: 'bob',
    by: 'research-bot',
    asks: 'What do we say about the recall on the phone?',
  },
  { day: 1, time: '08:31', for: 'carol', by: 'research-bot', asks: 'Which tube does the D9 have?' },
  { day: 1, time: '09:04', for: 'kim', does: 'plan' },
  { day: 1, time: '09:06', for: 'kim', does: 'confirm' },
  { day: 1, time: '09:41', for: 'emil', does: 'confirm' },
  { day: 1, time: '09:58', for: 'jon', by: 'brief-bot', asks: 'What does Brackwater complain about?' },
  { day: 1, time: '10:15', does: 'file' },
  { day: 1, time: '10:22', for: 'fay', reads: leaked },
  { day: 1, time: '10:37', for: 'ida', reads: leaked },
  {
    day: 1,
    time: '10:44',
    for: 'ida',
    to: 'brief-bot',
    lends: folder,
    purpose: 'Open points before my calls. It asks me each time: all of this is sensitive.',
  },
  { day: 1, time: '11:02', for: 'ida', by: 'brief-bot', asks: gannet },
  {
    day: 1,
    time: '12:20',
    for: 'dan',
    by: 'support-bot',
    asks: 'How do I calibrate a pump that doses too little?',
  },
  { day: 1, time: '14:05', for: 'hugo', by: 'research-bot', asks: 'Which hardness may the tube have?' },
  {
    day: 1,
    time: '15:10',
    for: 'ida',
    by: 'research-bot',
    asks: 'What does the board say of the works council and Gannet?',
  },
  { day: 1, time: '16:30', for: 'ida', by: 'brief-bot', asks: gannet },
  { day: 1, time: '17:03', for: 'bob', reads: leaked },
  { day: 1, time: '23:47', for: 'ida', by: 'brief-bot', asks: 'Term sheet: price, share, seat on the board' },
  { day: 2, time: '02:13', for: 'ida', by: 'brief-bot', reads: leaked },
  { day: 2, time: '08:02', for: 'jon', by: 'brief-bot', asks: 'What did Brackwater order?' },
  { day: 2, time: '08:45', for: 'anne', by: 'research-bot', asks: 'What did the recall cost?' },
  { day: 2, time: '09:30', for: 'ida', reads: leaked },
  { day: 2, time: '10:02', for: 'bob', by: 'research-bot', asks: 'Is pump D4-26-0771 part of the recall?' },
  { day: 2, time: '11:15', for: 'fay', by: 'research-bot', asks: 'What is the margin of the third quarter?' },
  { day: 2, time: '12:20', for: 'ida', by: 'brief-bot', asks: gannet },
  { day: 2, time: '15:48', for: 'dan', by: 'support-bot', asks: 'When do I escalate a complaint?' },
  { day: 2, time: '18:05', for: 'ida', by: 'brief-bot', asks: gannet },
]
