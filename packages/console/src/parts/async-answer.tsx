import type { ComponentChildren } from 'preact'
import { type Answer, useAnswer } from '../use-answer.ts'
import { ProblemBox } from './problem.tsx'

/** What was asked for: while it is on its way, where it failed, and once it is there. */
export function AsyncAnswer<T>({
  answer,
  subject,
  children,
}: {
  readonly answer: Answer<T>
  /** Named while it is on its way: `the record`. */
  readonly subject: string
  readonly children: (value: T) => ComponentChildren
}) {
  switch (answer.state) {
    case 'asking':
      return (
        <p class="soft" role="status">
          Asking for {subject} …
        </p>
      )
    case 'failed':
      return <ProblemBox problem={answer.problem} />
    case 'there':
      return <>{children(answer.value)}</>
  }
}

/** Asks for `path`, or posts `body` there, and shows what comes; anew once they change. */
export function Asked<T>(props: {
  readonly path: string
  readonly body?: object
  readonly subject: string
  readonly children: (value: T) => ComponentChildren
}) {
  const { path, body, subject, children } = props
  const answer = useAnswer(JSON.stringify([path, body]), (api, signal) =>
    body === undefined ? api.get<T>(path, signal) : api.post<T>(path, body, signal),
  )
  return (
    <AsyncAnswer answer={answer} subject={subject}>
      {children}
    </AsyncAnswer>
  )
}
