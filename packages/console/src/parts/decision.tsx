const shown: Readonly<Record<string, string>> = { allowed: 'tag good', denied: 'tag bad', error: 'tag warn' }

export const Decision = ({ decision }: { readonly decision: string }) =>
  decision === 'none' ? <span class="soft">–</span> : <span class={shown[decision] ?? 'tag'}>{decision}</span>
