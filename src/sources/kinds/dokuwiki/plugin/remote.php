<?php

use dokuwiki\Extension\RemotePlugin;
use dokuwiki\Remote\AccessDeniedException;

/**
 * What Remit reads of this wiki: its access control list as it is written, the groups of the accounts that it asks
 * for, and pages. It writes nothing. Whoever signs in as the account of `$conf['plugin']['remit']['account']` may
 * call it, and nobody else; that account needs no rights of its own. Each method takes and gives a text of JSON:
 * `{"problem": WHY}` where it cannot answer.
 */
class remote_plugin_remit extends RemotePlugin
{
    public function _getMethods()
    {
        $methods = array(
            'permissions' => 'Who may read what.',
            'versions' => 'All pages, or some of them, with their versions.',
            'texts' => 'The text of pages.',
        );
        return array_map(function ($doc) {
            return array('args' => array('string'), 'return' => 'string', 'doc' => $doc);
        }, $methods);
    }

    /**
     * `{accounts: [NAME…], known: DIGEST}` → `{digest}` where nothing is other than when that digest was given, else
     * `{digest, entries, accounts}`. An entry is `[SCOPE, WHOM, PERMISSION]`, as auth_aclcheck() compares them. An
     * account has what it is called there (`names`), and the entries with a placeholder as they are for it alone.
     */
    public function permissions($request)
    {
        return $this->answer($request, function ($asked) {
            global $conf, $auth;
            // A new one: it reads its users now, not when this request was let in.
            $users = plugin_load('auth', $conf['authtype'], true);
            if (!$users || $users->success === false) throw new RuntimeException('It has no word on its accounts.');
            $auth = $users;
            list($entries, $patterns) = $this->lines();
            $accounts = array();
            foreach ($asked['accounts'] as $name) $accounts[] = $this->account((string) $name, $patterns);
            $answer = array('entries' => $entries, 'accounts' => array_values(array_filter($accounts)));
            $digest = sha1(self::json($answer));
            return $digest === ($asked['known'] ?? '') ? compact('digest') : $answer + compact('digest');
        });
    }

    /**
     * `{ids: [ID…]}`, or `{}` for all → `{pages: [[ID, BYTES, DIGEST]…]}` of those that are there. One whose file the
     * wiki cannot read has 0 bytes, and no text.
     */
    public function versions($request)
    {
        return $this->answer($request, function ($asked) {
            return array('pages' => $this->each($asked['ids'] ?? $this->all(), function ($id, $text) {
                return array($id, strlen($text), sha1($text));
            }));
        });
    }

    /** `{ids: [ID…]}` → `{texts: [[ID, TEXT, SECONDS, DIGEST]…]}` of those that are there. */
    public function texts($request)
    {
        return $this->answer($request, function ($asked) {
            return array('texts' => $this->each($asked['ids'], function ($id, $text) {
                return array($id, $text, (int) @filemtime(wikiFN($id)), sha1($text));
            }));
        });
    }

    /** Refuses everybody but the one account; and all, where another plugin has a word on who may read. */
    private function answer($request, $work)
    {
        global $INPUT, $EVENT_HANDLER;
        $account = (string) $this->getConf('account');
        if ($account === '' || $INPUT->server->str('REMOTE_USER') !== $account) {
            throw new AccessDeniedException('This account is not that of Remit.', 114);
        }
        try {
            if ($EVENT_HANDLER->hasHandlerForEvent('AUTH_ACL_CHECK')) {
                throw new RuntimeException('Another plugin has a word on who may read: AUTH_ACL_CHECK.');
            }
            $asked = json_decode($request, true);
            if (!is_array($asked)) throw new RuntimeException('This is no JSON.');
            return self::json($work($asked));
        } catch (\Exception $problem) {
            return self::json(array('problem' => $problem->getMessage()));
        }
    }

    /** All of them, or none: what is in a folder that cannot be read would seem to be deleted. */
    private function all()
    {
        global $conf;
        $found = array();
        $list = function (&$data, $base, $file, $type, $level, $options) {
            $this->assertReadable("$base/$file", $type);
            return search_allpages($data, $base, $file, $type, $level, $options);
        };
        $this->assertReadable($conf['datadir'], 'd');
        search($found, $conf['datadir'], $list, array('skipacl' => true));
        return array_column($found, 'id');
    }

    private function assertReadable($path, $type)
    {
        if ($type !== 'd') return;
        // Windows knows no folder that can be listed and not entered.
        if (!is_readable($path) || (DIRECTORY_SEPARATOR === '/' && !is_executable($path))) {
            throw new RuntimeException('A folder of its pages cannot be read.');
        }
    }

    /** Of the pages that the wiki itself would show: those under a name that leads to them, and not hidden. */
    private function each($ids, $work)
    {
        $found = array();
        foreach ($ids as $id) {
            $id = (string) $id;
            if ($id === '' || cleanID($id) !== $id || !page_exists($id) || isHiddenPage($id)) continue;
            $text = (string) rawWiki($id);
            // It was deleted this moment, or nothing is in it.
            if ($text === '' && !$this->isUnreadable($id)) continue;
            $found[] = $work($id, $text);
        }
        return $found;
    }

    /** Whether it is there, and the wiki may not read its file. */
    private function isUnreadable($id)
    {
        $file = wikiFN($id);
        clearstatcache(true, $file);
        return file_exists($file) && !is_readable($file);
    }

    /** The lines of the list as auth_loadACL() splits them: those for everybody, and those with a placeholder. */
    private function lines()
    {
        global $config_cascade;
        $lines = @file($config_cascade['acl']['default']);
        if ($lines === false) throw new RuntimeException('Its access control list cannot be read.');
        $entries = $patterns = array();
        foreach ($lines as $line) {
            $line = trim($line);
            if (empty($line) || $line[0] == '#') continue;
            list($scope, $rest) = preg_split('/[ \t]+/', $line, 2) + array('', '');
            if (strstr($line, '%USER%') || strstr($line, '%GROUP%')) $patterns[] = array($scope, $rest, $line);
            else $entries[] = $this->entry($scope, $rest);
        }
        return array(array_values(array_filter($entries)), $patterns);
    }

    /** A line as auth_aclcheck() splits it; null where it never applies. */
    private function entry($scope, $rest)
    {
        global $auth;
        if (!preg_match('/^[^ \t]+[ \t]+/', $rest)) return null;
        $parts = preg_split('/[ \t]+/', preg_replace('/#.*$/', '', $rest));
        if (count($parts) < 2) return null;
        // Empty where a comment follows: PHP 7 takes that for no right, and PHP 8 passes over the entry.
        list($whom, $permission) = $parts;
        if (!$auth->isCaseSensitive() && $whom !== '@ALL') $whom = \dokuwiki\Utf8\PhpString::strtolower($whom);
        return array($scope, $whom, $permission);
    }

    /** Null: there is no such account, or nobody can sign in by that name. */
    private function account($name, $patterns)
    {
        global $auth;
        if (empty($name) || $auth->cleanUser($name) !== $name) return null;
        $info = $auth->getUserData($name);
        if (!$info) return null;
        $groups = array_values((array) ($info['grps'] ?? array()));
        $lower = array(\dokuwiki\Utf8\PhpString::class, 'strtolower');
        $isCaseSensitive = $auth->isCaseSensitive();
        $names = array(auth_nameencode($auth->cleanUser($isCaseSensitive ? $name : $lower($name))));
        foreach ($isCaseSensitive ? $groups : array_map($lower, $groups) as $group) {
            $names[] = '@' . auth_nameencode($auth->cleanGroup($group));
        }
        return array(
            'account' => $name,
            'names' => $names,
            'superuser' => auth_isadmin($name, $groups, true),
            'entries' => $this->entriesFor($name, $groups, $patterns),
        );
    }

    /** What auth_loadACL() makes of the lines with a placeholder once this account is signed in. */
    private function entriesFor($name, $groups, $patterns)
    {
        $entries = array();
        foreach ($patterns as list($scope, $rest, $line)) {
            if (strstr($line, '%USER%')) {
                $scope = str_replace('%USER%', cleanID($name), $scope);
                $rest = str_replace('%USER%', auth_nameencode($name), $rest);
            }
            if (strstr($line, '%GROUP%')) {
                foreach ($groups as $group) {
                    $entries[] = $this->entry(
                        str_replace('%GROUP%', cleanID($group), $scope),
                        str_replace('%GROUP%', '@' . auth_nameencode($group), $rest)
                    );
                }
            } else {
                $entries[] = $this->entry($scope, $rest);
            }
        }
        return array_values(array_filter($entries));
    }

    /** Plain ASCII that XML takes as it is, but for the quotes around each text. */
    private static function json($value)
    {
        $flags = JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT | JSON_INVALID_UTF8_SUBSTITUTE;
        return json_encode($value, $flags | JSON_THROW_ON_ERROR);
    }
}
