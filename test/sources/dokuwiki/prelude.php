<?php
// Put before each script of the wiki: Debian's DokuWiki with the configuration, data and plugins of one test.
$folder = getenv('DOKUWIKI_TEST_FOLDER');
define('DOKU_MAIN_CONF', '/etc/dokuwiki/');
define('DOKU_CONF', $folder . '/conf/');
define('DOKU_PLUGIN', $folder . '/plugins/');
