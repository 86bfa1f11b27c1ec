import type { TextProblem } from '@remit/contract/model'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Editor } from './editor.ts'

/** The text of a model with colours, and with the problems that the service found in it. */
export function ModelEditor(props: {
  readonly text: string
  readonly problems: readonly TextProblem[]
  /** Where somebody wants to look. */
  readonly lookAt: TextProblem | undefined
  readonly onChange: (text: string) => void
}) {
  const { text, problems, lookAt, onChange } = props
  const container = useRef<HTMLDivElement>(null)
  const [editor, setEditor] = useState<Editor>()

  useEffect(() => {
    let isThere = true
    let opened: Editor | undefined
    const root = container.current?.shadowRoot ?? container.current?.attachShadow({ mode: 'open' })
    // Only whoever edits a model loads an editor.
    void import('./editor.ts').then(({ openEditor }) => {
      if (!isThere || root === undefined) return
      opened = openEditor({ root, text, labelledBy: 'The model’s text', onChange })
      setEditor(opened)
    })
    return () => {
      isThere = false
      opened?.destroy()
    }
  }, [text])
  useEffect(() => editor?.show(problems), [editor, problems])
  useEffect(() => {
    if (lookAt !== undefined) editor?.goTo(lookAt)
  }, [editor, lookAt])

  return <div class="editor" ref={container} />
}
